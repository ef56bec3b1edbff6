package server;

import static org.springframework.security.config.Customizer.withDefaults;

import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.jwk.source.ImmutableJWKSet;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.core.annotation.Order;
import org.springframework.http.MediaType;
import org.springframework.http.server.ServletServerHttpResponse;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.Authentication;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.jose.jws.JwsAlgorithm;
import org.springframework.security.oauth2.jose.jws.MacAlgorithm;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwsHeader;
import org.springframework.security.oauth2.jwt.JwtClaimsSet;
import org.springframework.security.oauth2.jwt.JwtEncoder;
import org.springframework.security.oauth2.jwt.JwtEncoderParameters;
import org.springframework.security.oauth2.jwt.NimbusJwtEncoder;
import org.springframework.security.oauth2.server.authorization.InMemoryOAuth2AuthorizationService;
import org.springframework.security.oauth2.server.authorization.OAuth2AuthorizationService;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenIntrospection;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenType;
import org.springframework.security.oauth2.server.authorization.authentication.OAuth2TokenIntrospectionAuthenticationToken;
import org.springframework.security.oauth2.server.authorization.client.InMemoryRegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClient;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.config.annotation.web.configurers.OAuth2AuthorizationServerConfigurer;
import org.springframework.security.oauth2.server.authorization.http.converter.OAuth2TokenIntrospectionHttpMessageConverter;
import org.springframework.security.oauth2.server.authorization.settings.AuthorizationServerSettings;
import org.springframework.security.oauth2.server.authorization.settings.ClientSettings;
import org.springframework.security.oauth2.server.authorization.settings.OAuth2TokenFormat;
import org.springframework.security.oauth2.server.authorization.settings.TokenSettings;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.authentication.AuthenticationSuccessHandler;
import org.springframework.security.web.authentication.LoginUrlAuthenticationEntryPoint;

/** Spring Authorization Server: clients of apps and of gateways, and one user. */
@SpringBootApplication
public class Application {
  public static void main(String[] arguments) {
    SpringApplication.run(Application.class, arguments);
  }

  @Bean
  RegisteredClientRepository clients(@Value("${client-keys}") String clientKeys) {
    // No two may have the same secret.
    return new InMemoryRegisteredClientRepository(
        client("api-gateway", "Password1").build(),
        client("special", "p+ss w%rd/&=u\"").build(),
        // Gets a JWT for the API: see introspection().
        client("gateway-jwt", "Password2").build(),
        client("gateway-certificate", "unused")
            .clientAuthenticationMethods(Set::clear)
            .clientAuthenticationMethod(ClientAuthenticationMethod.TLS_CLIENT_AUTH)
            .clientSettings(ClientSettings.builder().x509CertificateSubjectDN("CN=client").build())
            .build(),
        // They sign assertions.
        client("gateway-key", "unused too")
            .clientAuthenticationMethods(Set::clear)
            .clientAuthenticationMethod(ClientAuthenticationMethod.PRIVATE_KEY_JWT)
            .clientSettings(signing(SignatureAlgorithm.ES256).jwkSetUrl(clientKeys).build())
            .build(),
        client("gateway-secret", "")
            .clientSecret("0123456789abcdef0123456789abcdef")
            .clientAuthenticationMethods(Set::clear)
            .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_JWT)
            .clientSettings(signing(MacAlgorithm.HS256).build())
            .build(),
        client("app", "of app").tokenSettings(tokens(OAuth2TokenFormat.REFERENCE, 300)).build(),
        client("short", "of short").tokenSettings(tokens(OAuth2TokenFormat.REFERENCE, 4)).build(),
        client("other", "of other").tokenSettings(tokens(OAuth2TokenFormat.SELF_CONTAINED, 300)).build());
  }

  private static RegisteredClient.Builder client(String id, String secret) {
    return RegisteredClient.withId(id)
        .clientId(id)
        .clientSecret("{noop}" + secret)
        .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_BASIC)
        .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_POST)
        .authorizationGrantType(AuthorizationGrantType.CLIENT_CREDENTIALS)
        .authorizationGrantType(AuthorizationGrantType.AUTHORIZATION_CODE)
        .authorizationGrantType(AuthorizationGrantType.REFRESH_TOKEN)
        .authorizationGrantType(AuthorizationGrantType.DEVICE_CODE)
        .redirectUri("http://127.0.0.1/callback")
        .scope("openid")
        .scope("message.read")
        .scope("message.write");
  }

  private static ClientSettings.Builder signing(JwsAlgorithm algorithm) {
    return ClientSettings.builder().tokenEndpointAuthenticationSigningAlgorithm(algorithm);
  }

  private static TokenSettings tokens(OAuth2TokenFormat format, int seconds) {
    var lifetime = Duration.ofSeconds(seconds);
    return TokenSettings.builder().accessTokenFormat(format).accessTokenTimeToLive(lifetime).build();
  }

  @Bean
  OAuth2AuthorizationService authorizations() {
    return new InMemoryOAuth2AuthorizationService();
  }

  @Bean
  UserDetailsService users() {
    var alice = User.withUsername("alice").password("{noop}wonderland").roles("USER");
    return new InMemoryUserDetailsManager(alice.build());
  }

  @Bean
  JWKSource<SecurityContext> keys() throws Exception {
    var key = new RSAKeyGenerator(2048).keyUse(KeyUse.SIGNATURE).keyID("signing").generate();
    return new ImmutableJWKSet<>(new JWKSet(key));
  }

  @Bean
  JwtEncoder encoder(JWKSource<SecurityContext> keys) {
    return new NimbusJwtEncoder(keys);
  }

  /** Without an issuer, it is what the Host header of a request says. */
  @Bean
  AuthorizationServerSettings settings(@Value("${issuer}") String issuer) {
    return AuthorizationServerSettings.builder().issuer(issuer).build();
  }

  @Bean
  @Order(1)
  SecurityFilterChain server(HttpSecurity http, AuthenticationSuccessHandler introspection)
      throws Exception {
    var server = OAuth2AuthorizationServerConfigurer.authorizationServer();
    http.securityMatcher(server.getEndpointsMatcher())
        .with(
            server,
            it ->
                it.oidc(withDefaults())
                    .tokenIntrospectionEndpoint(e -> e.introspectionResponseHandler(introspection)))
        .authorizeHttpRequests(it -> it.anyRequest().authenticated())
        .exceptionHandling(
            it -> it.authenticationEntryPoint(new LoginUrlAuthenticationEntryPoint("/login")));
    return http.build();
  }

  @Bean
  @Order(2)
  SecurityFilterChain pages(HttpSecurity http) throws Exception {
    http.authorizeHttpRequests(it -> it.anyRequest().authenticated()).formLogin(withDefaults());
    return http.build();
  }

  /** Answers the gateway with a JWT for the API, and of access tokens alone; others as ever. */
  @Bean
  AuthenticationSuccessHandler introspection(
      OAuth2AuthorizationService authorizations, JwtEncoder encoder) {
    var writer = new OAuth2TokenIntrospectionHttpMessageConverter();
    return (request, response, authentication) -> {
      var asked = (OAuth2TokenIntrospectionAuthenticationToken) authentication;
      var client = ((Authentication) asked.getPrincipal()).getName();
      var answer = asked.getTokenClaims();
      if (answer.isActive() && client.equals("gateway-jwt")) {
        answer =
            authorizations.findByToken(asked.getToken(), OAuth2TokenType.ACCESS_TOKEN) == null
                ? OAuth2TokenIntrospection.builder(false).build()
                : OAuth2TokenIntrospection.withClaims(answer.getClaims())
                    .claim("phantom_token", jwt(encoder, answer.getClaims()))
                    .build();
      }
      writer.write(answer, MediaType.APPLICATION_JSON, new ServletServerHttpResponse(response));
    };
  }

  /** The JWT behind a token: what introspection says of it, signed with a key of /oauth2/jwks. */
  private static String jwt(JwtEncoder encoder, Map<String, Object> answer) {
    var claims = new LinkedHashMap<>(answer);
    claims.keySet().removeAll(Set.of("active", "token_type"));
    // Times are numbers of seconds; those that the encoder knows, it converts itself.
    claims.replaceAll(
        (name, value) ->
            Set.of("iat", "exp", "nbf").contains(name)
                ? value
                : value instanceof Instant time
                    ? (Object) time.getEpochSecond()
                    : value instanceof Date date ? (Object) (date.getTime() / 1000) : value);
    var header = JwsHeader.with(SignatureAlgorithm.RS256).type("at+jwt").build();
    var set = JwtClaimsSet.builder().claims(it -> it.putAll(claims)).build();
    return encoder.encode(JwtEncoderParameters.from(header, set)).getTokenValue();
  }
}
