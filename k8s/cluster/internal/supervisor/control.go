package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ringway.dev/cluster/internal/state"
)

// startMax bounds how long a restarted component may take to answer.
const startMax = time.Minute

// control serves commands on the cluster's socket.
func (s *Supervisor) control() error {
	listener, err := net.Listen("unix", s.folder.Socket())
	if err != nil {
		return fmt.Errorf("the control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		conditions := make([]Condition, 0, len(s.components))
		for _, component := range s.components {
			conditions = append(conditions, component.condition())
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(conditions)
	})
	mux.HandleFunc("POST /kill/{component}", s.onComponent(func(_ context.Context, c *component) error { return c.hold() }))
	mux.HandleFunc("POST /start/{component}", s.onComponent(s.revive))
	mux.HandleFunc("POST /tie/{pid}", tie)
	return http.Serve(listener, mux)
}

// revive starts a component that was held down and waits until it answers. After an outage of the API server its
// upstream clients wait up to 30 s, and one after the other, before they try again: they are started anew instead.
func (s *Supervisor) revive(ctx context.Context, c *component) error {
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	absent := c.absent()
	if err := c.start(); err != nil {
		return err
	}
	if err := c.await(ctx); err != nil || c.name != APIServer || !absent {
		return err
	}
	for _, name := range []string{Controllers, Proxy} {
		client, _ := s.component(name)
		if client.absent() {
			continue
		}
		if err := client.renew(); err != nil {
			return err
		}
		if err := client.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tie kills a process of the namespace when the request ends before it does: whoever ran it is gone.
func tie(w http.ResponseWriter, r *http.Request) {
	pid, err := strconv.Atoi(r.PathValue("pid"))
	if err != nil || pid <= 1 {
		http.Error(w, "want the number of a process", http.StatusBadRequest)
		return
	}
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		// It has ended.
		return
	}
	defer unix.Close(handle)
	<-r.Context().Done()
	_ = unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0)
}

func (s *Supervisor) onComponent(act func(context.Context, *component) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		component, known := s.component(r.PathValue("component"))
		if !known {
			http.Error(w, fmt.Sprintf("no component %q; there are %s", r.PathValue("component"), strings.Join(Names(), ", ")), http.StatusNotFound)
			return
		}
		if err := act(r.Context(), component); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// Names are the names of all components.
func Names() []string { return []string{Etcd, APIServer, Controllers, Proxy, Agent} }

// Client sends commands to a running supervisor.
type Client struct {
	http *http.Client
}

// Dial gives a client of the cluster's supervisor.
func Dial(folder state.Folder) *Client {
	var dialer net.Dialer
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", folder.Socket())
		},
	}}}
}

// Status tells how the components are.
func (c *Client) Status(ctx context.Context) ([]Condition, error) {
	answer, err := c.do(ctx, http.MethodGet, "/status")
	if err != nil {
		return nil, err
	}
	var conditions []Condition
	if err := json.Unmarshal(answer, &conditions); err != nil {
		return nil, fmt.Errorf("the supervisor's answer: %w", err)
	}
	return conditions, nil
}

// Kill ends a component with SIGKILL and keeps it down.
func (c *Client) Kill(ctx context.Context, component string) error {
	_, err := c.do(ctx, http.MethodPost, "/kill/"+url.PathEscape(component))
	return err
}

// Start brings a component back and waits until it answers.
func (c *Client) Start(ctx context.Context, component string) error {
	_, err := c.do(ctx, http.MethodPost, "/start/"+url.PathEscape(component))
	return err
}

// Tie has a process of the namespace, by its number there, killed when the calling process ends. It does not return
// before.
func (c *Client) Tie(ctx context.Context, pid int) error {
	_, err := c.do(ctx, http.MethodPost, "/tie/"+strconv.Itoa(pid))
	return err
}

func (c *Client) do(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the supervisor: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("the supervisor's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", bytes.TrimSpace(answer))
	}
	return answer, nil
}
