"""How the cache knows that code changed: digests of definitions, read from the source without importing it."""

from headrace.pipelines.code_digest.digest import CodeDigest, digest_function
from headrace.pipelines.code_digest.import_closure import packages_imported_by
from headrace.pipelines.code_digest.project_modules import Roots, module_name, project_root

__all__ = ["CodeDigest", "Roots", "digest_function", "module_name", "packages_imported_by", "project_root"]
