"""What runs in the container: nothing here imports pandas or scikit-learn.

A request comes in by `wire` (uvicorn's protocol) and `front` (routes), with `asgi`, `keys` and
`errors` at their side; `rows` holds it to the contract, `runner` says when the model runs,
`predictor` runs it and makes the answer; `metrics` and `drift` count, `logs` writes. `openapi` and
`docs` describe all that. `service` is what BentoML loads, from the model that `model` names; it
makes a `worker` by the `settings`, whose life from start to end is `lifecycle`'s, under the
`supervisor` of the parent process; both tell each other by `run`. `fetch` brings a model from S3.
`health` is the image's check of itself; `example`, `labels` and `version` are for the machine that
builds.
"""
