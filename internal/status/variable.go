package status

import (
	"crypto/sha256"
	"encoding/hex"
)

// HashVariable is a short hash of a variable's value, by which values are
// compared without being shown. It is no protection of a weak secret, which
// does not belong in a plain variable.
func HashVariable(value string) string {
	sum := sha256.Sum256([]byte("remora variable\x00" + value))
	return hex.EncodeToString(sum[:6])
}
