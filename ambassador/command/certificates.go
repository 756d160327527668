package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
)

// certificates lists what certificates there are, without their keys.
func certificates(ctx context.Context, c *control.Client, output string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := c.Certificates(ctx)
	switch {
	case err != nil:
		return err
	case output == "json":
		return writeJSON(w, list)
	case output != "table":
		return &usageError{fmt.Sprintf("-o %q is not table or json", output)}
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tFOR\tUNTIL\tISSUER\tWHY")
	for _, r := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Name, subjects(r), until(r.NotAfter), r.Issuer, r.Error)
	}
	return t.Flush()
}

func subjects(r traffic.CertificateReport) string {
	text := strings.Join(r.Subjects, ", ")
	if r.Authorities {
		return "clients of " + text
	}
	return text
}

func until(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}
