"""A project of Django with django-oidc-provider, its data in the folder SITE."""

import os

SITE = os.environ["SITE"]

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "server"
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
    "oidc_provider",
]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

# The answers say the ID token's end: it is to be the access token's.
OIDC_TOKEN_EXPIRE = int(os.environ.get("TOKEN_SECONDS", 300))
OIDC_IDTOKEN_EXPIRE = int(os.environ.get("ID_TOKEN_SECONDS", OIDC_TOKEN_EXPIRE))
# Without it they say no scope.
OIDC_INTROSPECTION_RESPONSE_SCOPE_ENABLE = True
OIDC_GRANT_TYPE_PASSWORD_ENABLE = True
