# Finds cuDNN (headers and library) as target cuDNN::cudnn. Looks beside the CUDA toolkit, in CUDNN_ROOT and where the system has it.
# The backend API of 9.8 and later can describe a device without having one; older ones are not used.
find_path(CUDNN_INCLUDE_DIR cudnn.h
  HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9
  HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT ${CUDAToolkit_LIBRARY_DIR} "${CUDAToolkit_LIBRARY_ROOT}/lib" "${CUDAToolkit_LIBRARY_ROOT}/lib64"
  PATH_SUFFIXES lib lib64)
if(CUDNN_INCLUDE_DIR)
  foreach(file cudnn_version_v9.h cudnn_version.h)
    if(EXISTS "${CUDNN_INCLUDE_DIR}/${file}")
      foreach(part MAJOR MINOR PATCHLEVEL)
        file(STRINGS "${CUDNN_INCLUDE_DIR}/${file}" line REGEX "^#define CUDNN_${part}[ \t]+[0-9]+")
        string(REGEX REPLACE ".*[ \t]([0-9]+).*" "\\1" CUDNN_${part} "${line}")
      endforeach()
      set(cuDNN_VERSION "${CUDNN_MAJOR}.${CUDNN_MINOR}.${CUDNN_PATCHLEVEL}")
      break()
    endif()
  endforeach()
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cuDNN REQUIRED_VARS CUDNN_LIBRARY CUDNN_INCLUDE_DIR cuDNN_VERSION VERSION_VAR cuDNN_VERSION)
if(cuDNN_FOUND AND NOT TARGET cuDNN::cudnn)
  add_library(cuDNN::cudnn UNKNOWN IMPORTED)
  set_target_properties(cuDNN::cudnn PROPERTIES
    IMPORTED_LOCATION "${CUDNN_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${CUDNN_INCLUDE_DIR}")
endif()
mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY)
