"""Files of logged steps that need not fit in memory: read, credited, written.

`credit_file.credit_file` is the way in.
"""
