//go:build race

package ambassador

const raceEnabled = true
