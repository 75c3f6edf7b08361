# FastAPI + scikit-learn as tutorials have it. The requirements pin all that is installed.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps -r requirements.txt
COPY fastapi_sklearn.py model.joblib ./
ENV MODEL=model.joblib
EXPOSE 8000
CMD ["uvicorn", "--factory", "fastapi_sklearn:create_app", "--host", "0.0.0.0", "--port", "8000"]
