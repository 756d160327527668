// Package e2e tests remora as a whole, on real Docker Engines, git servers and
// registries: agent and ambassador run as processes of their own, and real
// clients judge them.
//
// It holds tests only. Tests of one engine run one after the other, since an
// engine takes one agent.
package e2e
