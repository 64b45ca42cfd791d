"""An admin with a browser's manners: signs in, fills in forms, and uses the API."""

from __future__ import annotations

from typing import Any

import httpx


class Person:
    """Signed in to the dashboard at `url`."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=60)
        self.submit("/accounts/login/", login=username, password=password)

    def page(self, path: str) -> str:
        """The HTML of a page."""
        answer = self._client.get(path, follow_redirects=True)
        assert answer.status_code == 200, f"{path} answered {answer.status_code}"
        return answer.text

    def submit(self, path: str, **fields: str) -> str:
        """Open a page with a form and send it filled in; returns where that led."""
        self.page(path)
        fields["csrfmiddlewaretoken"] = self._client.cookies["csrftoken"]
        answer = self._client.post(path, data=fields)
        assert answer.status_code == 302, f"{path} answered {answer.status_code}: {answer.text}"
        return answer.headers["location"]

    def press(self, page: str, action: str, **fields: str) -> str:
        """Press a button on a page whose form leads to `action`; returns the page after it."""
        html = self.page(page)
        assert f'action="{action}"' in html, f"{page} has no form that leads to {action}"
        fields["csrfmiddlewaretoken"] = self._client.cookies["csrftoken"]
        answer = self._client.post(action, data=fields, follow_redirects=True)
        assert answer.status_code == 200, f"{action} answered {answer.status_code}"
        return answer.text

    def get(self, path: str, **query: Any) -> Any:
        """What the API says at `path`, below /api/v1."""
        return self._checked(self._client.get(f"/api/v1{path}", params=query))

    def post(self, path: str, **data: Any) -> Any:
        """Have the API do something."""
        headers = {"X-CSRFToken": self._client.cookies["csrftoken"]}
        return self._checked(self._client.post(f"/api/v1{path}", json=data, headers=headers))

    def delete(self, path: str) -> None:
        """Have the API delete something."""
        headers = {"X-CSRFToken": self._client.cookies["csrftoken"]}
        answer = self._client.delete(f"/api/v1{path}", headers=headers)
        assert answer.status_code == 204, f"{path} answered {answer.status_code}: {answer.text}"

    def one(self, path: str, **query: Any) -> dict[str, Any]:
        """The only result that a list of the API has."""
        (result,) = self.get(path, **query)["results"]
        return dict(result)

    def close(self) -> None:
        self._client.close()

    def _checked(self, answer: httpx.Response) -> Any:
        assert answer.is_success, (
            f"{answer.request.url} answered {answer.status_code}: {answer.text}"
        )
        return answer.json()
