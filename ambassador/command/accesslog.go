package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/remorahq/remora/ambassador/accesslog"
	"github.com/remorahq/remora/internal/printable"
)

// accessLog prints the last lines of the access log, and follows it.
func accessLog(ctx context.Context, o options, w io.Writer) error {
	r := accesslog.Reading{Dir: o.state, Last: o.lines, Follow: o.follow}
	switch o.output {
	case "table": // as it is written
	case "json":
		r.Format = accesslog.JSON
	case "combined":
		r.Format = accesslog.Combined
	default:
		return &usageError{fmt.Sprintf("-o %q is not json or combined", o.output)}
	}
	safe := printable.NewWriter(w)
	err := errors.Join(accesslog.Read(ctx, r, safe), safe.Close())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: nothing was written yet, or the log is off (ambassador.access_log in the host file), or --state is another folder", err)
	}
	return err
}
