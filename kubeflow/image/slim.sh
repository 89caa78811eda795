#!/bin/sh
# slim.sh FOLDER: takes from a virtual environment what no step reads, and compiles what is left.
set -eu
packages=$(echo "$1"/lib/python3.*/site-packages)
cd "$packages"
# C++ headers and archives for those who build extensions
rm -rf tensorflow/include pyarrow/include pyarrow/src numpy/_core/include numpy/_core/lib
# libclang's bindings, which TensorFlow names among its requirements and no module of it imports
rm -rf clang tensorflow/xla_aot_runtime_src
find . -name '*.a' -delete
find . \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.h' -o -name '*.hpp' \) -delete
# Tests that distributions install; not those of TensorFlow and Keras, whose modules of that name are programs of their own
for package in numpy pyarrow apache_beam sqlalchemy s3fs fsspec aiobotocore botocore; do
  [ ! -d "$package" ] || find "$package" -type d -name tests -prune -exec rm -rf {} +
done
find "$1" -type d -name __pycache__ -prune -exec rm -rf {} +
"$1/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$packages" || true
