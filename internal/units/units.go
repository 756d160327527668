// Package units holds the unit files that run remora under systemd, embedded so
// that each program can print or install its own. It is text and nothing else.
package units

import _ "embed"

// AmbassadorName is the file name of [Ambassador].
const AmbassadorName = "remora-ambassador.service"

// Ambassador is the unit of remora-ambassador, of Type=notify. Its listeners
// are kept in systemd's descriptor store over a restart and a crash.
//
//go:embed remora-ambassador.service
var Ambassador string
