// NVML as a machine with three GPUs has it: the first works, the driver has lost the second, and the third cannot be
// described. INIT is what the first call returns. With OLD, functions of newer drivers are missing.
#include <stdio.h>
#include <stdint.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;
typedef struct { char legacy[16]; unsigned domain, bus, device, pci_device, pci_subsystem; char bus_id[32]; } Pci;
typedef struct { unsigned process; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;

int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
  snprintf(version, length, "580.65.06");
  return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13020; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  *device = (void *)(uintptr_t)(index + 1);
  return index == 1 ? GPU_IS_LOST : SUCCESS;
}

static int state(void *device) { return (uintptr_t)device == 1 ? SUCCESS : GPU_IS_LOST; }

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  (void)device;
  *major = 9;
  *minor = 0;
  return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
  (void)device;
  snprintf(uuid, length, "GPU-1234");
  return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
  (void)device;
  snprintf(name, length, "NVIDIA H200");
  return SUCCESS;
}

#ifndef OLD
int nvmlDeviceGetMemoryInfo_v2(void *device, Memory *memory) {
  memory->total = 150000000000;
  memory->used = 5000000000;
  return state(device);
}
#endif

int nvmlDeviceGetPciInfo_v3(void *device, Pci *pci) {
  memset(pci, 0, sizeof *pci);
  snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:C7:00.0");
  return state(device);
}

// Asked for the number first, and then for the processes.
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, Process *processes) {
  if (*count < 2) {
    *count = 2;
    return INSUFFICIENT_SIZE;
  }
  *count = 2;
  memset(processes, 0, 2 * sizeof *processes);
  processes[0].process = 7;
  processes[1].process = 8;
  return state(device);
}

// Some models do not report their utilization.
int nvmlDeviceGetUtilizationRates(void *device, void *rates) {
  (void)device;
  (void)rates;
  return NOT_SUPPORTED;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
  (void)sensor;
  *celsius = 61;
  return state(device);
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
  *milliwatts = 300500;
  return state(device);
}
