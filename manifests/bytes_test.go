package manifests

import "testing"

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "4096": 4096, "64MiB": 64 << 20, "64 MiB": 64 << 20, "1GiB": 1 << 30, "10MB": 10_000_000, "2kB": 2000, "2KB": 2000, "7B": 7,
	} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
		written, err := got.MarshalText()
		var again Bytes
		if err := again.UnmarshalText(written); err != nil || again != want {
			t.Errorf("%s is written as %s, which reads as %d, %v", text, written, again, err)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "9999999999GiB", "many"} {
		if err := new(Bytes).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
