"""The page: server-rendered frames in Jinja2, filled by small ES modules that speak the API. No build step."""
