"""The pipeline: a module of each stage, and a package of what each is made of.

raw         source: where tables come from
processed   parsing: what a table is read as, and the contract that its rows are held to
features    engineering, of your own
train       model: the Pipeline, and how it is fitted; graph: the same in ONNX; evaluation:
            which is the best, and how good it is, for programs and for people
all         params paths console parquet; compute cluster processes; contract and inference, which
            are the service's too
after       identity register: the model in the BentoML store; tracking; release: its versions
"""
