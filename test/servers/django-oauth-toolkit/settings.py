"""A project of Django with django-oauth-toolkit, its data in the folder SITE."""

import os
import subprocess

SITE = os.environ["SITE"]

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "server"
LOGIN_URL = "/login/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(SITE, "database"),
        "OPTIONS": {"timeout": 20},
    }
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "oauth2_provider",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
LOGIN_PAGE = "<form method=post>{% csrf_token %}{{ form }}</form>"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [("django.template.loaders.locmem.Loader", {"login.html": LOGIN_PAGE})],
            "context_processors": ["django.template.context_processors.request"],
        },
    }
]


def signing_key():
    file = os.path.join(SITE, "signing.key")
    if not os.path.exists(file):
        subprocess.run(["openssl", "genrsa", "-out", file, "2048"], check=True)
    with open(file) as key:
        return key.read()


def seconds(request):
    """How long an access token lives: oauthlib asks this for each."""
    return 4 if request.client.client_id == "short" else 300


OAUTH2_PROVIDER = {
    "SCOPES": {"openid": "who", "read": "read", "write": "write", "introspection": "ask"},
    "EXTRA_SERVER_KWARGS": {"token_expires_in": seconds},
    "OIDC_ENABLED": True,
    "OIDC_RSA_PRIVATE_KEY": signing_key(),
}
