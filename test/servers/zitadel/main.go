// zitadel/oidc's example server with clients of its own, on loopback. The port is PORT; with
// CERTIFICATE and KEY it speaks HTTPS; with WRAP it is the library's newer kind of server.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Who may ask about the tokens of the client "app".
var gateways = []string{"api-gateway", "special"}

// What is the example's, but for who may ask about a token, and how long some tokens live.
type store struct {
	*storage.Storage
	ends sync.Map
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
	handler := exampleop.SetupServer(issuer, &store{Storage: storage.NewStorage(users)}, logger, wrap)
	server := http.Server{Addr: address, Handler: handler}
	var err error
	if certificate == "" {
		err = server.ListenAndServe()
	} else {
		err = server.ListenAndServeTLS(certificate, key)
	}
	logger.Error("ended", "error", err)
}
