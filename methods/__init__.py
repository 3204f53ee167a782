"""The methods of the benchmark, one file each; import them as ``wsolbench.methods.<name>``."""

if __name__ != "wsolbench.methods":  # a second import under a bare name would duplicate every class
    raise ImportError("import 'wsolbench.methods', not the bare folder 'methods'")
