// Never compiled: the layering check must refuse this file.
#include "graph/lower.hpp"
