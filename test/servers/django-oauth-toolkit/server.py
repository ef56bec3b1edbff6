"""The project's pages: `gunicorn server:application`. `python server.py` makes its database."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.contrib.auth.views import LoginView
from django.core.management import call_command
from django.urls import include, path

urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("login/", LoginView.as_view(template_name="login.html")),
]


def client(name, grant="client-credentials", secret="Password1", **more):
    more.setdefault("hash_client_secret", False)
    call_command(
        "createapplication", "confidential", grant, client_id=name, client_secret=secret, **more
    )


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = "wonderland"
    call_command(
        "createsuperuser", interactive=False, username="alice", email="alice@example.com"
    )
    client("api-gateway")
    client("special", secret='p+ss w%rd/&=u"')
    client("hashed", hash_client_secret=True)
    client("app")
    client("short")
    client(
        "person",
        grant="authorization-code",
        algorithm="RS256",
        redirect_uris="http://127.0.0.1/callback",
        skip_authorization=True,
    )
