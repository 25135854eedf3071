package claims

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

func TestTheReportsImplementationIsOneThatUpstreamTakes(t *testing.T) {
	implementation := Implementation("v0.1.0")
	if err := implementation.Validate(); err != nil {
		t.Error(err)
	}
}

func TestHTTPIsClaimed(t *testing.T) {
	for _, name := range ProfileNames() {
		if name == suite.GatewayHTTPConformanceProfileName {
			return
		}
	}
	t.Error("GATEWAY-HTTP is not run")
}
