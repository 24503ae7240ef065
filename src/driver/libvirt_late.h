/*
 * libvirt and libnbd, loaded when the first source needs them: libvirt brings
 * fifty more libraries, and a fleet without guests should not pay for them, or
 * need them.
 *
 * What their headers declare is called as always; fb_libvirt_load() and
 * fb_nbd_load() come first.
 */
#ifndef DRIVER_LIBVIRT_LATE_H
#define DRIVER_LIBVIRT_LATE_H

#include <libnbd.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define FB_LIBVIRT_FUNCTIONS(X) \
	X(virInitialize) \
	X(virSetErrorFunc) \
	X(virGetLastError) \
	X(virResetLastError) \
	X(virConnectOpen) \
	X(virConnectClose) \
	X(virConnectRef) \
	X(virConnectGetLibVersion) \
	X(virConnectListAllDomains) \
	X(virConnectSetKeepAlive) \
	X(virEventAddTimeout) \
	X(virEventRegisterDefaultImpl) \
	X(virEventRemoveTimeout) \
	X(virEventRunDefaultImpl) \
	X(virDomainAbortJob) \
	X(virDomainAgentSetResponseTimeout) \
	X(virDomainCheckpointCreateXML) \
	X(virDomainCheckpointDelete) \
	X(virDomainCheckpointFree) \
	X(virDomainCheckpointGetName) \
	X(virDomainCheckpointGetXMLDesc) \
	X(virDomainCheckpointLookupByName) \
	X(virDomainGetConnect) \
	X(virDomainListAllCheckpoints) \
	X(virDomainBackupBegin) \
	X(virDomainBackupGetXMLDesc) \
	X(virDomainBlockCommit) \
	X(virDomainBlockJobAbort) \
	X(virDomainCreateWithFlags) \
	X(virDomainDefineXML) \
	X(virDomainDestroyFlags) \
	X(virDomainFSFreeze) \
	X(virDomainFSThaw) \
	X(virDomainGetBlockJobInfo) \
	X(virDomainGetID) \
	X(virDomainGetJobInfo) \
	X(virDomainListAllSnapshots) \
	X(virDomainRef) \
	X(virDomainResume) \
	X(virDomainShutdownFlags) \
	X(virDomainLookupByName) \
	X(virDomainLookupByUUIDString) \
	X(virDomainFree) \
	X(virDomainGetName) \
	X(virDomainGetUUIDString) \
	X(virDomainGetXMLDesc) \
	X(virDomainGetState) \
	X(virDomainIsPersistent) \
	X(virDomainHasManagedSaveImage) \
	X(virDomainGetBlockInfo) \
	X(virDomainSnapshotCreateXML) \
	X(virDomainSnapshotFree) \
	X(virDomainSnapshotGetXMLDesc) \
	X(virDomainSnapshotIsCurrent) \
	X(virDomainSnapshotLookupByName) \
	X(virNetworkFree) \
	X(virNetworkGetXMLDesc) \
	X(virNetworkIsActive) \
	X(virNetworkLookupByName) \
	X(virStoragePoolLookupByName) \
	X(virStoragePoolLookupByVolume) \
	X(virStoragePoolGetInfo) \
	X(virStoragePoolGetName) \
	X(virStoragePoolGetXMLDesc) \
	X(virStoragePoolLookupByTargetPath) \
	X(virStoragePoolRefresh) \
	X(virStoragePoolFree) \
	X(virStorageVolLookupByName) \
	X(virStorageVolLookupByPath) \
	X(virStorageVolCreateXML) \
	X(virStorageVolDownload) \
	X(virStorageVolGetInfo) \
	X(virStorageVolGetPath) \
	X(virStorageVolGetXMLDesc) \
	X(virStorageVolUpload) \
	X(virStreamAbort) \
	X(virStreamFinish) \
	X(virStreamFree) \
	X(virStreamNew) \
	X(virStreamRecv) \
	X(virStreamSend) \
	X(virStorageVolFree)

#define FB_LIBVIRT_MEMBER(name) __typeof__(name) *name;
struct fb_libvirt {
	FB_LIBVIRT_FUNCTIONS(FB_LIBVIRT_MEMBER)
	/* Of a library of its own: NULL without it. */
	FB_LIBVIRT_MEMBER(virDomainQemuAgentCommand)
};
extern struct fb_libvirt fb_libvirt;

#define FB_NBD_FUNCTIONS(X) \
	X(nbd_create) \
	X(nbd_close) \
	X(nbd_get_error) \
	X(nbd_add_meta_context) \
	X(nbd_can_meta_context) \
	X(nbd_set_export_name) \
	X(nbd_aio_connect_systemd_socket_activation) \
	X(nbd_aio_connect_unix) \
	X(nbd_aio_connect_command) \
	X(nbd_aio_get_fd) \
	X(nbd_aio_is_connecting) \
	X(nbd_aio_is_ready) \
	X(nbd_get_size) \
	X(nbd_get_block_size) \
	X(nbd_aio_block_status) \
	X(nbd_aio_command_completed) \
	X(nbd_aio_flush) \
	X(nbd_aio_pread) \
	X(nbd_aio_pwrite) \
	X(nbd_aio_zero) \
	X(nbd_poll)

#define FB_NBD_MEMBER(name) __typeof__(name) *name;
struct fb_nbd {
	FB_NBD_FUNCTIONS(FB_NBD_MEMBER)
};
extern struct fb_nbd fb_nbd;

/* NULL: it is there; else why it is not, in static memory.  Threads: any. */
const char *fb_libvirt_load(void);
const char *fb_nbd_load(void);

#endif
