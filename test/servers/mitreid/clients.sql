-- What goes into the server's own file for clients of its HSQLDB, before it is merged from there.

INSERT INTO client_details_TEMP (client_id, client_secret, client_name, dynamically_registered, refresh_token_validity_seconds, access_token_validity_seconds, id_token_validity_seconds, allow_introspection) VALUES
  ('api-gateway', 'Password1', 'api-gateway', false, null, 3600, 600, true),
  ('special', 'p+ss w%rd/&=u"', 'special', false, null, 3600, 600, true),
  ('app', 'Password1', 'app', false, null, 3600, 600, false),
  ('short', 'Password1', 'short', false, null, 4, 600, false),
  ('other', 'Password1', 'other', false, null, 3600, 600, false);

-- Answers name those of a token's scopes that the asking client has too: the gateway's has them all.
INSERT INTO client_scope_TEMP (owner_id, scope) VALUES
  ('api-gateway', 'openid'), ('api-gateway', 'email'), ('api-gateway', 'phone'), ('api-gateway', 'offline_access'),
  ('special', 'openid'), ('special', 'email'), ('special', 'phone'), ('special', 'offline_access'),
  ('app', 'openid'), ('app', 'email'), ('app', 'phone'), ('app', 'offline_access'),
  ('short', 'email'),
  ('other', 'email');

INSERT INTO client_redirect_uri_TEMP (owner_id, redirect_uri) VALUES
  ('app', 'http://127.0.0.1/callback');

INSERT INTO client_grant_type_TEMP (owner_id, grant_type) VALUES
  ('app', 'client_credentials'),
  ('app', 'authorization_code'),
  ('app', 'refresh_token'),
  ('short', 'client_credentials'),
  ('other', 'client_credentials');

