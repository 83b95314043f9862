-- Sessions and profiles.
DELETE FROM `${dataset}.session_scores`
WHERE session_start < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL ${days} DAY)
  AND CONCAT(session_id, ' ', CAST(revision AS STRING)) NOT IN (
    SELECT CONCAT(session_id, ' ', CAST(MAX(revision) AS STRING))
    FROM `${dataset}.session_scores`
    GROUP BY session_id
  );

-- Clusters in each window.
DELETE FROM `${dataset}.flagged_clusters`
WHERE last_seen < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL ${days} DAY)
  AND CONCAT(cluster_id, ' ', CAST(window_start AS STRING), ' ', CAST(revision AS STRING)) NOT IN (
    SELECT CONCAT(cluster_id, ' ', CAST(window_start AS STRING), ' ', CAST(MAX(revision) AS STRING))
    FROM `${dataset}.flagged_clusters`
    GROUP BY cluster_id, window_start
  );

-- Members and evidence of revisions that are gone, in their window; old rows of members say none.
DELETE FROM `${dataset}.cluster_members`
WHERE since < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL ${days} DAY)
  AND cluster_id || ' ' || CAST(revision AS STRING)
      || COALESCE(' ' || CAST(window_start AS STRING), '') NOT IN (
    SELECT cluster_id || ' ' || CAST(revision AS STRING) || ' ' || CAST(window_start AS STRING)
    FROM `${dataset}.flagged_clusters`
    UNION ALL
    SELECT cluster_id || ' ' || CAST(revision AS STRING)
    FROM `${dataset}.flagged_clusters`
  );

DELETE FROM `${dataset}.cluster_evidence`
WHERE window_start < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL ${days} DAY)
  AND cluster_id || ' ' || CAST(revision AS STRING)
      || COALESCE(' ' || CAST(window_start AS STRING), '') NOT IN (
    SELECT cluster_id || ' ' || CAST(revision AS STRING) || ' ' || CAST(window_start AS STRING)
    FROM `${dataset}.flagged_clusters`
    UNION ALL
    SELECT cluster_id || ' ' || CAST(revision AS STRING)
    FROM `${dataset}.flagged_clusters`
  );
