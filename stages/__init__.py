"""The pipeline: one module a stage, and beside it what the stages are made of.

raw        archive download query
processed  table infer checks contract_file
features   engineering
train      prepare estimator stopping power boosting: the Pipeline; fitting search validation
           threshold: how it is chosen; export converters isotonic proof: the same in ONNX;
           evaluate histogram curves pictures card: what is said of it; tracking
all        params paths console parquet compute cluster; contract inference, the service's too
after      identity register: the model in the BentoML store; release: its versions
"""
