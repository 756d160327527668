package manifests

// redacted is what a secret prints as, whatever prints it.
const redacted = "***"

// Secret is a value that must not be printed: every way of formatting,
// logging or marshalling it yields "***". [Secret.Reveal] is the one way out.
type Secret struct{ value string }

// NewSecret wraps v.
func NewSecret(v string) Secret { return Secret{value: v} }

// Reveal returns the value itself.
func (s Secret) Reveal() string { return s.value }

// IsZero says whether there is no value.
func (s Secret) IsZero() bool { return s.value == "" }

// String returns "***".
func (s Secret) String() string { return redacted }

// GoString returns "***".
func (s Secret) GoString() string { return redacted }

// MarshalText returns "***"; JSON, YAML and slog use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
