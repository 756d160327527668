// Package systemd tests the ambassador as a service of systemd: the unit file
// that it prints, on a Debian whose PID 1 is systemd, in a container of an
// engine of its own. It holds tests only, and each of them changes the one
// service that all share, so none runs beside another.
package systemd
