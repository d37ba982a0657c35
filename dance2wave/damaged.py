"""What libraries raise for a damaged file, of which not all is documented."""

import lzma
import struct
import tokenize
import zipfile
import zlib

# numpy.load: of a .npy and an .npz, of their headers, of what is compressed.
ARRAYS = (
  *(OSError, EOFError, MemoryError, struct.error),
  *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
  *(SyntaxError, tokenize.TokenError),  # a header is a literal of Python
  *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
  RuntimeError,  # zipfile: a password, or a compression that it does not know
)
