// Looks one citizen up through the gateway, with the standard library alone.
//
//	export GATEWAY_URL=https://gateway.example:8443
//	export GATEWAY_CA=gateway-ca.pem        # the authority of the gateway's certificate
//	export GATEWAY_IDENTITY=system.pem      # this system's certificate and private key
//	go run lookup.go < keys.json            # {"id": "...", "full_name": "...", "date_of_birth": "..."}
//
// Prints the fields that this system may see, one a line. Ends with 2 if nobody matches, with 1 if refused.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strconv"
	"time"
)

const (
	attempts = 5
	longest  = 60 // seconds: what would take longer is for an operator
)

var errNobody = errors.New("nobody matches: check the number, the name and the date of birth")

// A refusal, as application/problem+json: Code is stable, Detail says what to do.
type refusal struct {
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	request string
}

func (r refusal) Error() string {
	return fmt.Sprintf("refused: %s: %s (request %s)", r.Code, r.Detail, r.request)
}

func main() {
	record, err := run()
	switch {
	case errors.Is(err, errNobody):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	printFields("", record)
}

func run() (map[string]any, error) {
	client, err := newClient(os.Getenv("GATEWAY_CA"), os.Getenv("GATEWAY_IDENTITY"))
	if err != nil {
		return nil, err
	}
	keys, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	return lookUp(client, keys)
}

func newClient(ca, identity string) (*http.Client, error) {
	authority, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s: no certificate in it", ca)
	}
	own, err := tls.LoadX509KeyPair(identity, identity)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

func lookUp(client *http.Client, keys []byte) (map[string]any, error) {
	for attempt := 1; ; attempt++ {
		status, headers, body, err := post(client, keys)
		if err != nil {
			return nil, err
		}
		if status == http.StatusOK {
			var record map[string]any
			return record, decode(body, &record)
		}
		refused := refusal{request: headers.Get("Gateway-Request-Id")}
		if err := decode(body, &refused); err != nil {
			return nil, err
		}
		// Over the rate, or something behind the gateway is down for now: it says in how many seconds to come again.
		wait, err := strconv.Atoi(headers.Get("Retry-After"))
		switch {
		case refused.Code == "no_match":
			return nil, errNobody
		case status != 429 && status != 503 && status != 504, err != nil, wait > longest, attempt == attempts:
			return nil, refused
		}
		fmt.Fprintf(os.Stderr, "%d %s: again in %d s\n", status, refused.Code, wait)
		time.Sleep(time.Duration(wait) * time.Second)
	}
}

func post(client *http.Client, keys []byte) (int, http.Header, []byte, error) {
	url := os.Getenv("GATEWAY_URL") + "/population/v1/citizens/lookup"
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(keys))
	if err != nil {
		return 0, nil, nil, err
	}
	purpose, named := os.LookupEnv("GATEWAY_PURPOSE")
	if !named {
		purpose = "assessment"
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Gateway-Purpose", purpose)
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("no answer: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, body, err
}

func decode(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// Every field with its path, such as permanent_residence.province. A field that is withheld is not there.
func printFields(name string, value any) {
	below := func(key string, member any) {
		if name != "" {
			key = name + "." + key
		}
		printFields(key, member)
	}
	switch value := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(value))
		for key := range value {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			below(key, value[key])
		}
	case []any:
		for at, member := range value {
			below(strconv.Itoa(at), member)
		}
	case nil:
		fmt.Printf("%s: null\n", name)
	default:
		fmt.Printf("%s: %v\n", name, value)
	}
}
