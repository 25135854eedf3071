package node

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"ringway.dev/cluster/internal/state"
)

// followPause is how often a followed log is read again.
const followPause = 100 * time.Millisecond

// Serve answers the API server's requests for logs until it fails.
func (a *Agent) Serve() error {
	authority, err := os.ReadFile(a.folder.Key("ca.crt"))
	if err != nil {
		return fmt.Errorf("the authority of clients: %w", err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(authority) {
		return errors.New("the authority of clients: no certificate in ca.crt")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.serveLog)
	server := &http.Server{
		Addr:              fmt.Sprintf("%s:%d", state.NodeAddress, state.AgentPort),
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
		// Whether the agent is there is found out by connections that say nothing.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return server.ListenAndServeTLS(a.folder.Key("agent.crt"), a.folder.Key("agent.key"))
}

// logQuery is what a client wants of a log.
type logQuery struct {
	since      time.Time
	tail       int
	limit      int64
	timestamps bool
	follow     bool
}

func parseLogQuery(values url.Values, now time.Time) (logQuery, error) {
	query := logQuery{tail: -1, limit: -1}
	for name, read := range map[string]func(string) error{
		"sinceTime": func(text string) (err error) { query.since, err = time.Parse(time.RFC3339, text); return err },
		"sinceSeconds": func(text string) error {
			seconds, err := strconv.Atoi(text)
			query.since = now.Add(-time.Duration(seconds) * time.Second)
			return err
		},
		"tailLines":  func(text string) (err error) { query.tail, err = strconv.Atoi(text); return err },
		"limitBytes": func(text string) (err error) { query.limit, err = strconv.ParseInt(text, 10, 64); return err },
		"timestamps": func(text string) (err error) { query.timestamps, err = strconv.ParseBool(text); return err },
		"follow":     func(text string) (err error) { query.follow, err = strconv.ParseBool(text); return err },
		"previous": func(text string) error {
			if previous, err := strconv.ParseBool(text); err != nil || previous {
				return errors.New("the logs of all runs of a container are one here; ask for it without previous")
			}
			return nil
		},
	} {
		if text := values.Get(name); text != "" {
			if err := read(text); err != nil {
				return logQuery{}, fmt.Errorf("%s=%s: %w", name, text, err)
			}
		}
	}
	return query, nil
}

func (a *Agent) serveLog(w http.ResponseWriter, r *http.Request) {
	query, err := parseLogQuery(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	worker, found := a.find(r.PathValue("namespace"), r.PathValue("pod"))
	if !found {
		http.Error(w, "the node does not run that pod", http.StatusNotFound)
		return
	}
	path, found := worker.logPath(r.PathValue("container"))
	if !found {
		http.Error(w, "the pod has no container of that name", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := &limited{to: w, left: query.limit}
	offset := query.sendAll(out, path)
	for query.follow && r.Context().Err() == nil && !out.full() && !worker.over() {
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		time.Sleep(followPause)
		offset = query.sendFrom(out, path, offset)
	}
}

// sendAll writes what the query wants of the whole log and gives the place from which to follow it.
func (q logQuery) sendAll(out *limited, path string) int64 {
	var lines [][]byte
	keep := func(line []byte) {
		lines = append(lines, bytes.Clone(line))
		if q.tail >= 0 && len(lines) > q.tail {
			lines = lines[1:]
		}
	}
	q.scan(path+".old", 0, keep)
	offset := q.scan(path, 0, keep)
	for _, line := range lines {
		out.line(line)
	}
	return offset
}

func (q logQuery) sendFrom(out *limited, path string, offset int64) int64 {
	if info, err := os.Stat(path); err != nil || info.Size() < offset {
		// The log was begun anew.
		offset = 0
	}
	return q.scan(path, offset, out.line)
}

// scan gives each line of a log file that the query wants and where the last whole line ends.
func (q logQuery) scan(path string, offset int64, give func([]byte)) int64 {
	file, err := os.Open(path)
	if err != nil {
		return offset
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return offset
	}
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return offset
		}
		offset += int64(len(line))
		stamp, text, _ := bytes.Cut(line, []byte(" "))
		when, err := time.Parse(logTime, string(stamp))
		if err != nil || when.Before(q.since) {
			continue
		}
		if q.timestamps {
			text = line
		}
		give(text)
	}
}

// limited stops writing after so many bytes, unless there is no limit.
type limited struct {
	to   io.Writer
	left int64
	err  error
}

func (l *limited) full() bool { return l.left == 0 || l.err != nil }

func (l *limited) line(text []byte) {
	if l.full() {
		return
	}
	if l.left > 0 {
		text = text[:min(int64(len(text)), l.left)]
		l.left -= int64(len(text))
	}
	_, l.err = l.to.Write(text)
}
