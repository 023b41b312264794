# Options of the build. Device features are AUTO (use what is found), ON (fail at configure without it) or OFF.
option(SPLITCNN_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(SPLITCNN_BUILD_EXAMPLES "Build the examples and the command-line tool" ${PROJECT_IS_TOP_LEVEL})
option(SPLITCNN_BUILD_BENCH "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(SPLITCNN_BUILD_DOCS "Build the API reference with Doxygen (target docs)" OFF)
option(SPLITCNN_INSTALL "Generate the install rules" ${PROJECT_IS_TOP_LEVEL})
option(BUILD_SHARED_LIBS "Build shared libraries" ON)

# splitcnn_feature(NAME why): decides SPLITCNN_HAS_<NAME> from SPLITCNN_WITH_<NAME>. `why` is empty when everything the
# feature needs is there, else the sentence that says what is missing.
function(splitcnn_feature name why)
  set(SPLITCNN_WITH_${name} AUTO CACHE STRING "Build with ${name}: AUTO, ON or OFF")
  set_property(CACHE SPLITCNN_WITH_${name} PROPERTY STRINGS AUTO ON OFF)
  set(wanted "${SPLITCNN_WITH_${name}}")
  if(NOT wanted MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "SPLITCNN_WITH_${name}=${wanted}: say AUTO, ON or OFF")
  endif()
  set(has OFF)
  if(wanted STREQUAL "ON" AND why)
    message(FATAL_ERROR "SPLITCNN_WITH_${name}=ON: ${why}")
  elseif(NOT wanted STREQUAL "OFF" AND NOT why)
    set(has ON)
  endif()
  set(SPLITCNN_HAS_${name} ${has} PARENT_SCOPE)
endfunction()

# None of the three exists yet: GPU segments run on the CPU with FP16 storage, DPU segments on the software DPU.
splitcnn_feature(CUDA "this version has no GPU kernels yet; leave it AUTO and GPU segments run on the CPU")
splitcnn_feature(VART "this version has no VART back end yet; leave it AUTO and DPU segments run on the software DPU")
splitcnn_feature(PREDICTOR "this version has no predictor yet; leave it AUTO and search a measured profile")

if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
  set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  endif()
endif()
