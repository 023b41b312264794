# Builds the application with the library as a sub-project. Both linkages share one folder: the objects are the same.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")
set(ENV{CCACHE_NOHASHDIR} 1)
set(ENV{CCACHE_BASEDIR} "${WORK}")
run("${CMAKE_COMMAND}" -S "${ROOT}/test/consumer/add_subdirectory" -B "${WORK}" -G "${GENERATOR}"
  "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}" "-DCMAKE_BUILD_TYPE=${BUILD_TYPE}" "-DCMAKE_UNITY_BUILD=${UNITY}"
  "-DSPLITCNN_SOURCE=${ROOT}" "-DBUILD_SHARED_LIBS=${SHARED}" "-DEXPECT_BUILD_TYPE=${BUILD_TYPE}")
run("${CMAKE_COMMAND}" --build "${WORK}" --target consumer)
run_program("${WORK}/consumer")
