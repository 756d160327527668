package e2e_test

import (
	"os"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
)

// engines are those that the tests of this package share, one for each line.
var engines rig.Engines

func TestMain(m *testing.M) { os.Exit(engines.Main(m)) }
