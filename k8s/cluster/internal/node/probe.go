package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/api/core/v1"
)

const (
	// unreadyMin is how long a container that runs is not ready at the least. Another node takes longer than that; without
	// it, changes of a Pod follow one another faster than the EndpointSlice controller learns of its own writes, and one
	// that finds its cache behind waits a second before it tries again.
	unreadyMin = 500 * time.Millisecond
	// eager is how often a container that is not ready yet is probed, whatever its period is.
	eager = 100 * time.Millisecond
	// listenMax is how long a container without a readiness probe may take to listen before it counts as ready anyway.
	listenMax = 10 * time.Second
	// portlessMax is the same for one that declares no port: it may be none that listens.
	portlessMax = time.Second
)

// probe finds out whether a run of the container is ready and alive, until ctx ends.
func (c *container) probe(ctx context.Context, run *live, sick func(string)) {
	if c.spec.StartupProbe != nil {
		if !c.probeUntil(ctx, run, c.spec.StartupProbe, sick) {
			return
		}
	}
	if c.spec.LivenessProbe != nil {
		go c.probeWhile(ctx, run, c.spec.LivenessProbe, sick)
	}
	sleep(ctx, unreadyMin)
	if c.spec.ReadinessProbe == nil {
		c.awaitListener(ctx, run)
		c.setReady(ctx, true)
		return
	}
	c.probeReadiness(ctx, run, c.spec.ReadinessProbe)
}

// setReady notes readiness of the run that ctx belongs to.
func (c *container) setReady(ctx context.Context, ready bool) {
	changed := false
	c.worker.locked(func() {
		if ctx.Err() == nil && c.ready != ready {
			c.ready, changed = ready, true
		}
	})
	if changed {
		c.worker.report()
	}
}

// probeUntil probes until the first success; after too many failures it calls sick and gives false.
func (c *container) probeUntil(ctx context.Context, run *live, probe *v1.Probe, sick func(string)) bool {
	sleep(ctx, seconds(probe.InitialDelaySeconds))
	failures := int32(0)
	for began := time.Now(); ctx.Err() == nil; {
		err := c.try(ctx, run, probe)
		if err == nil {
			return true
		}
		// It is tried more often than its period says, so failures are counted by time.
		failures = int32(time.Since(began) / period(probe))
		if failures >= max(1, probe.FailureThreshold) {
			sick("startup probe: " + err.Error())
			return false
		}
		sleep(ctx, eager)
	}
	return false
}

func (c *container) probeWhile(ctx context.Context, run *live, probe *v1.Probe, sick func(string)) {
	sleep(ctx, seconds(probe.InitialDelaySeconds))
	for failures := int32(0); ctx.Err() == nil; sleep(ctx, period(probe)) {
		err := c.try(ctx, run, probe)
		if err == nil {
			failures = 0
			continue
		}
		failures++
		if failures >= max(1, probe.FailureThreshold) && ctx.Err() == nil {
			sick("liveness probe: " + err.Error())
			return
		}
	}
}

func (c *container) probeReadiness(ctx context.Context, run *live, probe *v1.Probe) {
	sleep(ctx, seconds(probe.InitialDelaySeconds))
	ready := false
	for count := int32(0); ctx.Err() == nil; {
		good := c.try(ctx, run, probe) == nil
		threshold := max(1, probe.SuccessThreshold)
		if ready {
			threshold = max(1, probe.FailureThreshold)
		}
		if good == ready {
			count = 0
		} else if count++; count >= threshold {
			ready, count = good, 0
			c.setReady(ctx, ready)
		}
		if ready {
			sleep(ctx, period(probe))
		} else {
			sleep(ctx, eager)
		}
	}
}

func seconds(number int32) time.Duration { return time.Duration(number) * time.Second }

func period(probe *v1.Probe) time.Duration { return seconds(max(1, probe.PeriodSeconds)) }

func (c *container) try(ctx context.Context, run *live, probe *v1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(max(1, probe.TimeoutSeconds)))
	defer cancel()
	switch {
	case probe.HTTPGet != nil:
		return c.httpGet(ctx, probe.HTTPGet)
	case probe.TCPSocket != nil:
		return c.connect(ctx, probe.TCPSocket.Host, probe.TCPSocket.Port.StrVal, probe.TCPSocket.Port.IntVal)
	case probe.Exec != nil:
		return run.process.runBeside(probe.Exec.Command, run.env.list(), run.rights, run.root.dir, ctx.Done())
	case probe.GRPC != nil:
		// Whether it listens is all that is asked of it.
		return c.connect(ctx, "", "", probe.GRPC.Port)
	default:
		return errors.New("it is of a kind this cluster does not offer")
	}
}

func (c *container) connect(ctx context.Context, host, name string, number int32) error {
	port, err := portOf(c.spec, name, number)
	if err != nil {
		return err
	}
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(cmp.Or(host, c.worker.current().Status.PodIP), port))
	if err != nil {
		return err
	}
	return connection.Close()
}

// probeClient makes a connection a request, follows no redirect, and takes any certificate, as a kubelet does.
var probeClient = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (c *container) httpGet(ctx context.Context, action *v1.HTTPGetAction) error {
	port, err := portOf(c.spec, action.Port.StrVal, action.Port.IntVal)
	if err != nil {
		return err
	}
	address := net.JoinHostPort(cmp.Or(action.Host, c.worker.current().Status.PodIP), port)
	scheme := strings.ToLower(string(cmp.Or(action.Scheme, v1.URISchemeHTTP)))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+"/"+strings.TrimPrefix(action.Path, "/"), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.37")
	for _, header := range action.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Name, header.Value)
	}
	response, err := probeClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("%s answered %s", request.URL, response.Status)
	}
	return nil
}

// awaitListener waits until the container listens on its first declared TCP port, or on any if it declares none.
func (c *container) awaitListener(ctx context.Context, run *live) {
	first := slices.IndexFunc(c.spec.Ports, func(port v1.ContainerPort) bool { return port.Protocol != v1.ProtocolUDP })
	patience := listenMax
	listens := func() bool { return c.connect(ctx, "", "", c.spec.Ports[first].ContainerPort) == nil }
	if first < 0 {
		if run.rights.hostNamespace {
			return
		}
		patience = portlessMax
		listens = func() bool { return listening(run.process.pid) }
	}
	for deadline := time.Now().Add(patience); ctx.Err() == nil && time.Now().Before(deadline); sleep(ctx, eager/4) {
		if listens() {
			return
		}
	}
}

// listening tells whether anything listens for TCP in the network namespace of a process.
func listening(pid int) bool {
	const stateField, listen = 3, "0A"
	for _, name := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/" + name)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(content), "\n") {
			if fields := strings.Fields(line); len(fields) > stateField && fields[stateField] == listen {
				return true
			}
		}
	}
	return false
}
