# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # What an analyst asks
#
# The questions of `docs/analysts.md` over the tables of the demo: `distilwatch demo`, then open this file in Jupyter
# (jupytext) or run it. `DISTILWATCH_TABLES` names another database.

# %%
import os

import duckdb
import matplotlib.pyplot as plt

TABLES = os.environ.get("DISTILWATCH_TABLES", "distilwatch-demo/out.duckdb")
db = duckdb.connect(TABLES, read_only=True)


def ask(sql: str):
    """A query's answer as a data frame."""
    return db.execute(sql).df()


# %% [markdown]
# ## Is the run sound?
# What was read must be what was scored, refused, or repeated; `unaccounted` is 0.

# %%
balance = ask("SELECT * FROM run_balance")
balance

# %% [markdown]
# ## What is open, gravest first?

# %%
clusters = ask("""
    SELECT cluster_id, status, severity, account_count, request_count, exposure_usd, p_value
    FROM current_clusters ORDER BY p_value
""")
clusters

# %%
colours = {"critical": "#7a0b1b", "high": "#c2410c", "medium": "#ca8a04", "low": "#64748b"}
figure, axes = plt.subplots(figsize=(8, 4.5))
for severity, rows in clusters.groupby("severity"):
    axes.scatter(
        rows.request_count,
        rows.exposure_usd,
        s=30 + 12 * rows.account_count,
        color=colours.get(severity, "#64748b"),
        alpha=0.75,
        label=severity,
    )
axes.set(
    xscale="log",
    yscale="log",
    xlabel="requests",
    ylabel="list price of what was taken, USD",
    title="Flagged clusters; size: accounts",
)
axes.legend(title="severity", frameon=False)
axes.grid(alpha=0.2)
plt.show()

# %% [markdown]
# ## Why? The reasons of all clusters, and how far from normal each is

# %%
reasons = ask("SELECT * FROM cluster_reasons")
reasons.head(12)

# %%
counted = reasons.groupby("feature").size().sort_values()
figure, axes = plt.subplots(figsize=(8, 0.32 * len(counted) + 1))
axes.barh(counted.index, counted.values, color="#2563eb")
axes.set(title="How many clusters name it as a reason", xlabel="clusters")
plt.show()

# %% [markdown]
# ## What links their accounts?

# %%
links = ask("SELECT * FROM cluster_links")
links.head(12)

# %% [markdown]
# ## Which accounts took most?

# %%
exposure = ask("SELECT * FROM accounts_by_exposure LIMIT 15")
exposure

# %% [markdown]
# ## When? Requests of flagged accounts by day

# %%
days = ask("""
    SELECT CAST(s.session_start AS DATE) AS day, m.cluster_id, SUM(s.request_count) AS requests
    FROM current_sessions s JOIN (SELECT DISTINCT cluster_id, account_id FROM cluster_members) m
      ON s.key = m.account_id
    WHERE s.level = 'session_account'
    GROUP BY 1, 2 ORDER BY 1
""")
top = days.groupby("cluster_id").requests.sum().nlargest(6).index
days["named"] = days.cluster_id.where(days.cluster_id.isin(top), "others")
wide = days.pivot_table(
    index="day", columns="named", values="requests", aggfunc="sum", fill_value=0
)
wide.index = [str(day)[:10] for day in wide.index]
axes = wide.plot.bar(stacked=True, figsize=(9, 4), width=0.9, colormap="tab10", rot=30)
axes.set(title="Requests of flagged accounts, by cluster", xlabel="", ylabel="requests")
axes.legend(title="", frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## Has normal moved? Share of rows outside of it, by feature

# %%
drift = ask("""
    SELECT feature, SUM(row_count * outside_share) / SUM(row_count) AS outside
    FROM feature_drift GROUP BY 1 ORDER BY 2
""")
figure, axes = plt.subplots(figsize=(8, 0.24 * len(drift) + 1))
axes.barh(drift.feature, drift.outside, color="#0f766e")
axes.axvline(1 / 3, color="#999", linestyle="--", linewidth=1)
axes.set(
    title="Outside of what was normal; a third is as in the history", xlabel="share", xlim=(0, 1)
)
axes.tick_params(axis="y", labelsize=8)
plt.show()

# %% [markdown]
# ## What was refused?

# %%
letters = ask("SELECT reason, COUNT(*) AS letters FROM dead_letters GROUP BY 1 ORDER BY 2 DESC")
letters
