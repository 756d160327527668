package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/remorahq/remora/internal/certfiles"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// certificateWarnings look at the certificate files that an app's routes name,
// as far as this machine has them: it may not be the host that they are for.
func certificateWarnings(app *manifests.App, now time.Time) []manifests.Diagnostic {
	var out []manifests.Diagnostic
	for i := range app.Services {
		s := &app.Services[i]
		for n, r := range s.Routes {
			route := fmt.Sprintf("x-remora.routes[%d]", n)
			for _, text := range routeFiles(r, now) {
				out = append(out, manifests.Diagnostic{
					Position: s.Positions[route], Reason: status.CertificateFailed, Warning: true,
					Field: "services." + s.Name + "." + route + ".tls", Message: text,
				})
			}
		}
	}
	return out
}

// routeFiles says what is wrong with the files of one route.
func routeFiles(r manifests.Route, now time.Time) []string {
	if r.TLS == nil {
		return nil
	}
	var out []string
	if r.TLS.Cert != "" && here(r.TLS.Cert) {
		pair := certfiles.Files{Chain: r.TLS.Cert, Key: r.TLS.Key}
		if err := certfiles.Check(pair, now); err != nil {
			out = append(out, err.Error())
		} else if chain, err := os.ReadFile(r.TLS.Cert); err == nil {
			out = append(out, certfiles.Warnings(chain, []string{r.Host}, now)...)
		}
	}
	if r.TLS.ClientCA != "" && here(r.TLS.ClientCA) {
		if err := certfiles.Check(certfiles.Files{Chain: r.TLS.ClientCA}, now); err != nil {
			out = append(out, err.Error())
		}
	}
	return out
}

func here(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
