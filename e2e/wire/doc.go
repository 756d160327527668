// Package wire is the judge of the wire torture: what the ambassador promises
// to each kind of traffic in each event, and whether a run kept it. It joins
// the clients' log with the backends' account and with the incidents that the
// driver noted, opens no connection, and shares no code with the product.
//
// A Run is judged as a whole and may be over for long: its folder holds all
// that the judge reads. All of it may be used concurrently.
package wire
