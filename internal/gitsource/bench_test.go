package gitsource

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/remorahq/remora/manifests"
)

// BenchmarkFetch measures from a commit on the server to its files on disk, in
// a repository of ten apps, and a poll without a change.
func BenchmarkFetch(b *testing.B) {
	for _, transport := range []string{"file", "http"} {
		r := newRepo(b)
		for i := range 10 {
			r.write(fmt.Sprintf("environments/prod/app%d/compose.yaml", i), fmt.Sprint(i))
		}
		r.push("x")
		url := r.fileURL()
		if transport == "http" {
			url = r.serveHTTP((*httptest.Server).Start).url
		}
		s := openSource(b, manifests.Source{URL: url}, Options{State: b.TempDir()})
		mustFetch(b, s)
		b.Run(transport+"/change", func(b *testing.B) {
			var total time.Duration
			for i := range b.N {
				r.commit("a", fmt.Sprint(time.Now().UnixNano(), i))
				start := time.Now()
				mustFetch(b, s)
				total += time.Since(start)
			}
			b.ReportMetric(float64(total.Microseconds())/float64(b.N)/1000, "ms/fetch")
		})
		b.Run(transport+"/poll", func(b *testing.B) {
			for range b.N {
				mustFetch(b, s)
			}
		})
	}
}
