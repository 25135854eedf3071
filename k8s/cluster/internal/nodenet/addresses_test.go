package nodenet

import (
	"net/netip"
	"testing"
)

func TestAFreedAddressIsTheLastToBeTakenAgain(t *testing.T) {
	addresses := NewAddresses(netip.MustParsePrefix("10.0.0.0/27"))
	var taken []netip.Addr
	for {
		address, err := addresses.Take()
		if err != nil {
			break
		}
		taken = append(taken, address)
	}
	// Of 32, 16 are reserved and one is the broadcast address.
	if len(taken) != 15 {
		t.Fatalf("%d addresses were taken: %v", len(taken), taken)
	}
	addresses.Free(taken[3])
	addresses.Free(taken[1])
	for _, want := range []netip.Addr{taken[1], taken[3]} {
		if got, err := addresses.Take(); err != nil || got != want {
			t.Errorf("got %s and not %s: %v", got, want, err)
		}
	}
	if address, err := addresses.Take(); err == nil {
		t.Errorf("%s was given twice", address)
	}
}
