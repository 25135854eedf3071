package nodenet

import (
	"fmt"
	"net/netip"
	"sync"
)

// reserved is how many addresses at the start of a pod range are never given to pods.
const reserved = 16

// Addresses hands out the addresses of a range in turn, so that a freed one rests as long as possible: connections to
// a pod that is gone should fail, not reach its successor.
type Addresses struct {
	mutex sync.Mutex
	pool  netip.Prefix
	last  netip.Addr
	taken map[netip.Addr]bool
}

// NewAddresses starts with a range of which nothing is taken.
func NewAddresses(pool netip.Prefix) *Addresses {
	return &Addresses{pool: pool, last: first(pool), taken: map[netip.Addr]bool{}}
}

func first(pool netip.Prefix) netip.Addr {
	address := pool.Masked().Addr()
	for range reserved {
		address = address.Next()
	}
	return address
}

// Take gives an address nobody has.
func (a *Addresses) Take() (netip.Addr, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	candidate := a.last
	for {
		candidate = candidate.Next()
		// The very last address is the range's broadcast address.
		if !a.pool.Contains(candidate.Next()) {
			candidate = first(a.pool)
		}
		if !a.taken[candidate] {
			a.taken[candidate] = true
			a.last = candidate
			return candidate, nil
		}
		if candidate == a.last {
			return netip.Addr{}, fmt.Errorf("every address of %s is taken", a.pool)
		}
	}
}

// Free gives an address back.
func (a *Addresses) Free(address netip.Addr) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.taken, address)
}
