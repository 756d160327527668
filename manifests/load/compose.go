package load

import (
	"context"
	"io"
	"maps"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
)

// quiet stops the library's own logging; its findings are reported as
// diagnostics or were found before.
func quiet() { logrus.SetOutput(io.Discard) }

// compose hands the scanned files to the Compose library.
func (a *app) compose(ctx context.Context) (*types.Project, error) {
	details := types.ConfigDetails{
		WorkingDir:  a.workDir,
		ConfigFiles: types.ToConfigFiles(a.configs),
		Environment: maps.Clone(a.vars),
	}
	return loader.LoadWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName(a.project, true)
		o.Profiles = a.profiles
		o.Interpolate.Substitute = func(text string, lookup template.Mapping) (string, error) {
			return substituteFrom(text, lookup)
		}
		o.SkipResolveEnvironment = true
		o.SkipResolveLabels = true
	})
}

// translate turns the library's error into diagnostics with places.
func (a *app) translate(err error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			a.translate(e)
		}
		return
	}
	message := err.Error()
	for _, root := range []string{a.workDir + "/", a.repo.root + "/", a.repo.root} {
		message = strings.ReplaceAll(message, root, "")
	}
	if _, rest, ok := strings.Cut(message, "validating "); ok {
		if _, rest, ok := strings.Cut(rest, ": "); ok {
			message = rest
		}
	}
	a.fail(errorField(message), "", "%s", strings.TrimSpace(message))
}

// errorField finds the key that an error of the library is about: it writes
// the place into its text.
func errorField(message string) string {
	if m := regexp.MustCompile(`can't set container_name and (\S+) as`).FindStringSubmatch(message); m != nil {
		return "services." + m[1] + ".container_name"
	}
	field := regexp.MustCompile(`\b(?:services|networks|volumes|configs|secrets)\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+|\[\d+\])*`).FindString(message)
	if field == "" {
		if m := regexp.MustCompile(`(?:\bservice|cycle detected:) "?([A-Za-z0-9._-]+)"?`).FindStringSubmatch(message); m != nil {
			field = "services." + m[1]
		}
	}
	return regexp.MustCompile(`\.(\d+)\b`).ReplaceAllString(field, "[$1]")
}
