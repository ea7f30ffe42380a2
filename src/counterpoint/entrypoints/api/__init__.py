"""The HTTP API: REST under `/api/v1`, CloudEvents in, server-sent events out, probes and metrics.

`app.create_app` puts it together, `server.Server` serves it. Each route is declared once, in
`resources/`: its handler's annotations say what it takes and answers, and OpenAPI is made from them.
"""
