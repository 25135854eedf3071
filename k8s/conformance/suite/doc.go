// Package suite runs the upstream Gateway API conformance suite, unmodified, as a Go test.
//
// The test has the build tag conformance, since it needs a cluster; everything that needs none is
// tested without it. All flags of the upstream suite are accepted but those that leave tests out.
package suite
