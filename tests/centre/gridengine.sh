# shellcheck shell=sh disable=SC1091,SC2154
# Brings Grid Engine up on one host. Set before: controller, members and nodes (names of hosts).
# Formats: sge_bootstrap(5), sge_conf(5), sge_sched_conf(5), sge_queue_conf(5), sge_pe(5), sge_project(5), sge_host_conf(5).
set -eu
. /etc/default/gridengine
export SGE_ROOT SGE_CELL SGE_ARCH
programs=/usr/lib/gridengine
offered=/usr/share/gridengine
common=$SGE_ROOT/$SGE_CELL/common
spool=/var/spool/sge

# Reads settings, a line each, and writes them with the values given: `put KEY 'VALUE' …`.
put() {
    awk 'BEGIN { for (i = 1; i < ARGC; i += 2) value[ARGV[i]] = ARGV[i + 1]; ARGC = 1 }
        $1 in value { print $1, value[$1]; next }
        { print }' "$@"
}

make_root() {
    for part in bin lib utilbin; do
        mkdir -p "$SGE_ROOT/$part"
        ln -sfn "$programs" "$SGE_ROOT/$part/$SGE_ARCH"
    done
    mkdir -p "$common" "$spool/qmaster" "$spool/execd"
    echo "$controller" > "$common/act_qmaster"
    cat > "$common/bootstrap" << END
admin_user none
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params $common;$spool/qmaster
binary_path $programs
qmaster_spool_dir $spool/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
jvm_threads 0
END
}

make_spool() {
    put execd_spool_dir "$spool/execd" mailer /bin/true load_report_time 0:0:2 max_unheard 0:0:15 \
        execd_params ENABLE_ADDGRP_KILL=true gid_range 65400-65500 \
        < "$offered/default-configuration" > "$spool/configuration"
    LD_LIBRARY_PATH=$programs "$programs/spoolinit" classic libspoolc "$common;$spool/qmaster" init
    "$programs/spooldefaults" configuration "$spool/configuration"
    "$programs/spooldefaults" complexes "$offered/util/resources/centry"
    "$programs/spooldefaults" usersets "$offered/util/resources/usersets"
    "$programs/spooldefaults" managers root
}

# It may go to the background before it listens.
await_qmaster() {
    for _ in $(seq 100); do
        ! qconf -sh > /dev/null 2>&1 || return 0
        sleep 0.1
    done
    qconf -sh
}

add_hosts() {
    qconf -ah "$members"
    qconf -as "$members"
    for node in $nodes; do
        printf '%s\n' "hostname $node" "load_scaling NONE" "complex_values NONE" "user_lists NONE" \
            "xuser_lists NONE" "projects NONE" "xprojects NONE" "usage_scaling NONE" "report_variables NONE" \
            > "$spool/new"
        # sge_execd of that node may have told of it first
        qconf -Ae "$spool/new" || qconf -se "$node" > /dev/null
    done
}

add_queue() {
    qconf -ssconf | put schedule_interval 0:0:1 job_load_adjustments NONE flush_submit_sec 1 flush_finish_sec 1 \
        > "$spool/new"
    qconf -Msconf "$spool/new"
    put pe_name mpi slots 99 allocation_rule 1 qsort_args NONE < "$offered/util/resources/pe/mpi" > "$spool/new"
    qconf -Ap "$spool/new"
    printf '%s\n' "name csc123" "oticket 0" "fshare 0" "acl NONE" "xacl NONE" > "$spool/new"
    qconf -Aprj "$spool/new"
    # However busy the machine is, and whatever a job does, a node has as many jobs as slots.
    qconf -sq | put qname batch hostlist "$nodes" slots 1 pe_list mpi shell /bin/csh load_thresholds NONE notify 0:0:5 > "$spool/new"
    qconf -Aq "$spool/new"
}

make_root
case " $nodes " in
*" $(hostname) "*) sge_execd ;;
esac
if [ "$(hostname)" = "$controller" ]; then
    [ -e "$spool/made" ] || make_spool
    sge_qmaster
    await_qmaster
    if [ ! -e "$spool/made" ]; then
        add_hosts
        add_queue
        touch "$spool/made"
    fi
fi
