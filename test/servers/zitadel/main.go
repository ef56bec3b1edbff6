// zitadel/oidc's example server with clients of its own, on loopback. The port is PORT; with
// CERTIFICATE and KEY it speaks HTTPS; with WRAP it is the library's newer kind of server. CLIENT_KEY is the
// public key, as a JWK, of the gateway that signs assertions.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Who may ask about the tokens of the client "app".
var gateways = []string{"api-gateway", "special", "gateway-key"}

// What is the example's, but for who may ask about a token, and how long some tokens live.
type store struct {
	*storage.Storage
	ends sync.Map
	key  jose.JSONWebKey
}

func (s *store) GetKeyByIDAndClientID(ctx context.Context, id, client string) (*jose.JSONWebKey, error) {
	if id != s.key.KeyID || client != "gateway-key" {
		return nil, errors.New("no such key")
	}
	return &s.key, nil
}

func (s *store) CreateAccessToken(ctx context.Context, request op.TokenRequest) (string, time.Time, error) {
	id, expiration, err := s.Storage.CreateAccessToken(ctx, request)
	if err == nil && slices.Contains(request.GetScopes(), storage.CustomScope) {
		expiration = time.Now().Add(4 * time.Second)
		s.ends.Store(id, expiration)
	}
	return id, expiration, err
}

func (s *store) SetIntrospectionFromToken(ctx context.Context, answer *oidc.IntrospectionResponse, token, subject, client string) error {
	if slices.Contains(gateways, client) {
		client = "app"
	}
	if err := s.Storage.SetIntrospectionFromToken(ctx, answer, token, subject, client); err != nil {
		return err
	}
	if end, ok := s.ends.Load(token); ok {
		answer.Expiration = oidc.FromTime(end.(time.Time))
		if end.(time.Time).Before(time.Now()) {
			return errors.New("token is expired")
		}
	}
	return nil
}

func main() {
	certificate, key := os.Getenv("CERTIFICATE"), os.Getenv("KEY")
	address := "127.0.0.1:" + os.Getenv("PORT")
	issuer := "http://" + address + "/"
	if certificate != "" {
		issuer = "https://" + address + "/"
	}
	redirect := "http://127.0.0.1/callback"
	storage.RegisterClients(
		storage.WebClient("api-gateway", "Password1"),
		storage.WebClient("special", "p+ss w%rd/&=u\""),
		storage.WebClient("app", "Password1", redirect),
		storage.WebClient("other", "Password1", redirect),
	)
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	users := storage.NewUserStore(issuer)
	_, wrap := os.LookupEnv("WRAP")
	clients := &store{Storage: storage.NewStorage(users)}
	if err := json.Unmarshal([]byte(os.Getenv("CLIENT_KEY")), &clients.key); err != nil {
		logger.Error("the client's key", "error", err)
		os.Exit(1)
	}
	handler := exampleop.SetupServer(issuer, clients, logger, wrap)
	server := http.Server{Addr: address, Handler: handler}
	var err error
	if certificate == "" {
		err = server.ListenAndServe()
	} else {
		err = server.ListenAndServeTLS(certificate, key)
	}
	logger.Error("ended", "error", err)
}
