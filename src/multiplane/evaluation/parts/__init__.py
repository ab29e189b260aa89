"""The parts of `multiplane evaluate`: each makes its pictures, measures them, writes its sheets and
returns its figures. The measures themselves are plain functions beside this package."""
