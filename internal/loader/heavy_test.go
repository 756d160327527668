package loader_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/loader"
)

// TestAnAppTooHeavyToLookAt: files that exhaust the process already while it
// finds out what is placed here are an error of their own app, too.
func TestAnAppTooHeavyToLookAt(t *testing.T) {
	files := map[string]string{environment: "{version: 1, default_placement: all}"}
	for _, name := range []string{"a", "b", "c", "d"} {
		files["environments/prod/"+name+"/compose.yaml"] = "services: {web: {image: x}}"
	}
	files["environments/prod/elsewhere/compose.yaml"] = "x-remora: {hosts: other}\nservices: {web: {image: x}}"
	var includes strings.Builder
	bulk := "x: [" + strings.Repeat("[],", 300_000) + "[]]\n"
	for i := range 63 {
		fmt.Fprintf(&includes, " - f%d.yaml\n", i)
		files[fmt.Sprintf("environments/prod/heavy/f%d.yaml", i)] = bulk
	}
	files["environments/prod/heavy/compose.yaml"] = "include:\n" + includes.String() + "services: {web: {image: x}}\n"
	root := write(t, files)
	out, err := loader.New().Load(t.Context(), request(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Diagnostics) > 0 {
		t.Fatalf("the whole environment failed: %v", out.Diagnostics)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, names(out)); diff != "" {
		t.Errorf("apps (-want +got):\n%s", diff)
	}
	if len(out.Failed) != 1 || out.Failed[0].App != "heavy" {
		t.Errorf("failed: %+v", out.Failed)
	}
	if len(out.Skipped) != 1 || out.Skipped[0].App != "elsewhere" {
		t.Errorf("skipped: %+v", out.Skipped)
	}
	if want := []string{"a", "b", "c", "d", "elsewhere", "heavy"}; !slices.Equal(out.Folders, want) {
		t.Errorf("folders %v, want %v", out.Folders, want)
	}
}
