// Package archtest is the architecture as tests: who may import whom, and
// what the source of a package may not hold. Each rule carries its reason,
// which is printed with every violation. The package has no code but tests,
// is imported by nobody, and a rule about a package that does not exist yet
// holds until it does.
package archtest
