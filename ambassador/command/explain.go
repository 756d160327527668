package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/printable"
	"github.com/remorahq/remora/internal/traffic"
)

// explain prints what would become of a URL, step by step.
func explain(ctx context.Context, c *control.Client, o options, w io.Writer) error {
	if o.url == "" {
		return &usageError{"explain needs a URL, such as https://shop.example.com/cart"}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	e, err := c.Explain(ctx, o.url)
	switch {
	case err != nil:
		return err
	case o.output == "json":
		return writeJSON(w, e)
	case o.output != "table":
		return &usageError{fmt.Sprintf("-o %q is not table or json", o.output)}
	}
	steps(w, &e)
	return nil
}

func steps(w io.Writer, e *traffic.Explanation) {
	for _, s := range e.Steps() {
		mark := "✔"
		if !s.OK {
			mark = "✗"
		}
		fmt.Fprintf(w, "%s %-9s %s\n", mark, s.Name, printable.Text(s.Text))
		if s.Remedy != "" {
			fmt.Fprintf(w, "  %-9s %s\n", "next", printable.Text(s.Remedy))
		}
	}
	for _, other := range e.Others {
		fmt.Fprintf(w, "  %-9s %s\n", "also", printable.Text(other))
	}
}
